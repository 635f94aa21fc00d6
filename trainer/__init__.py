"""From shards to checkpoints: methods, networks, losses, and the loop that trains them."""

from likeness.process.own_path import leave_out_working_folder

leave_out_working_folder(__name__, __file__)
