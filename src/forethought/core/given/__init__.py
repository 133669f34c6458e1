"""What people give: settings, and code of their own."""
