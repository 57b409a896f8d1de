"""How the embedded model is made: text, tokenizer, teacher vectors, base, adapters."""
