"""What do people see? The user study of section 6.7 as a kit."""
