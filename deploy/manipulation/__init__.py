"""Pictures edited object by object."""
