"""What a person types: names, options and help. The work is imported when it is asked for."""
