"""From an exported model to pictures, without torch."""
