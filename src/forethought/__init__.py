"""Acting by thinking ahead: planning and model-based reinforcement learning."""
