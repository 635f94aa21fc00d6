"""From videos and pictures to shards of pairs, and back to training batches."""

from likeness.process.own_path import leave_out_working_folder

leave_out_working_folder(__name__, __file__)
