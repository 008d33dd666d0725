"""Synthetic frontal chest radiographs with known lesions, drawn from a data seed and a number.

`scene` draws images and ground truth; `streams` decides label and catheter, and needs no compiler.
"""
