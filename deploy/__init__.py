"""From an exported model to pictures, without torch."""

from likeness.process.own_path import leave_out_working_folder

leave_out_working_folder(__name__, __file__)
