"""From a checkpoint to an ONNX file that has passed its gates."""

from likeness.process.own_path import leave_out_working_folder

leave_out_working_folder(__name__, __file__)
