"""How the embedded model is made: texts, teacher vectors, student, healing, adapters."""
