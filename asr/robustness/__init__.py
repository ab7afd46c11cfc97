"""How a recogniser's error rate holds up under noise, at other speeds, over a telephone, and in long recordings."""
