"""The chapters of the suite: each an attack of `bitting.attack` cut into jobs, with its control and its verdict."""
