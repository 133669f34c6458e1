"""Controllers around a trajectory, improved on models that hold around it."""
