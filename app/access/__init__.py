"""Access: who may ask, and how much: API keys, limits a minute, and the store that counts them."""
