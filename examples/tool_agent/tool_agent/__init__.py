"""An agent that answers at the order desk of a tea shop with tools, and asks a person before it pays a lot back."""
