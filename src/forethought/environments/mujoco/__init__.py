"""MuJoCo: any MJCF file as a system."""
