"""wsl_bench: the benchmark harness for weakly supervised localization.

What a plug-in author needs is importable from here, and `load_run` for notebooks. Nothing here
imports torch: a method's own file does, so that `import wsl_bench` and `wslbench --help` stay quick.
"""

from wsl_bench.data.samples import Dataset as Dataset
from wsl_bench.data.samples import Sample as Sample
from wsl_bench.data.samples import Truth as Truth
from wsl_bench.errors import DataError as DataError
from wsl_bench.errors import MethodError as MethodError
from wsl_bench.errors import UsageError as UsageError
from wsl_bench.errors import WslBenchError as WslBenchError
from wsl_bench.method import Batch as Batch
from wsl_bench.method import Method as Method
from wsl_bench.method import Network as Network
from wsl_bench.method import PostHocMethod as PostHocMethod
from wsl_bench.method import PriorMethod as PriorMethod
from wsl_bench.method import Task as Task
from wsl_bench.method import TrainedMethod as TrainedMethod
from wsl_bench.notebook import load_run as load_run
from wsl_bench.params import param as param
from wsl_bench.registry import register_dataset as register_dataset
from wsl_bench.registry import register_method as register_method
from wsl_bench.registry import register_network as register_network
from wsl_bench.registry import register_variant as register_variant

__version__ = "0.1.0"
