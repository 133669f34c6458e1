"""Models of finite worlds."""
