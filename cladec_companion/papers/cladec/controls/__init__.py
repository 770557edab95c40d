"""Would another choice change the answer? What a referee would ask."""
