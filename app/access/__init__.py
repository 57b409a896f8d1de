"""Access to the service: API keys, rate limits, and the store that counts them."""
