from wsl_bench.registry import plugin_dirs

__path__ += plugin_dirs("methods")
