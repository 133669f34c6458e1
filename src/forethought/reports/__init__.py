"""What people look at: figures, pages, films."""
