"""Networks: the paper's CNN, its masked form, and DenseNet121 through timm."""
