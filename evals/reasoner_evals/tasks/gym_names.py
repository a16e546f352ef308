"""Which data sets of reasoning-gym 0.1.25 are tasks, and how their answers are read and graded.

No listed scorer executes the answer. The scorers of the pinned version were read and are tested; read them again for a
new version.
"""

NUMBER = frozenset([
    "aiw", "basic_arithmetic", "binary_alternation", "chain_sum", "circuit_logic", "coin_flip", "count_bits",
    "count_primes", "decimal_arithmetic", "decimal_chain_sum", "dice", "gcd", "gsm_symbolic", "largest_island",
    "lcm", "leg_counting", "letter_counting", "maze", "number_format", "number_sequence", "products",
    "rectangle_count", "rotten_oranges", "self_reference", "simple_equations", "simple_geometry",
])  # fmt: skip
"""Answered by a number, compared exactly. The scorer of gsm_symbolic reads the first number and no minus sign; that of
coin_flip accepts 0 for anything."""

YES_NO = frozenset([
    "course_schedule", "game_of_life_halting", "isomorphic_strings", "ransom_note", "syllogism",
])  # fmt: skip
"""Answered by yes or no, or true or false. The scorer of game_of_life_halting accepts any text."""

TEXT = frozenset([
    "acre", "calendar_arithmetic", "caesar_cipher", "color_cube_rotation", "family_relationships", "figlet_font",
    "mahjong_puzzle", "needle_haystack", "zebra_puzzles",
])  # fmt: skip
"""Answered in words, compared as SQuAD does."""

VERBATIM = frozenset([
    "ab", "arc_1d", "base_conversion", "bf", "binary_matrix", "list_functions", "manipulate_matrix", "modulo_grid",
    "n_queens", "number_filtering", "prime_factorization", "rotate_matrix", "sentence_reordering", "spell_backward",
    "spiral_matrix", "string_insertion", "string_manipulation", "string_splitting", "string_synthesis",
    "time_intervals", "word_sequence_reversal",
])  # fmt: skip
"""Answered by a text with one right form. The scorers of binary_matrix, n_queens, spiral_matrix and string_insertion
execute it, that of prime_factorization raises on anything but a product, that of time_intervals accepts near misses."""

EXPRESSION = frozenset(("countdown", "puzzle24"))
"""Answered by an expression, graded by our own rules: their scorers execute it."""

SCORED = frozenset([
    "advanced_geometry", "arc_agi", "bitwise_arithmetic", "complex_arithmetic", "cryptarithm", "emoji_mystery",
    "fraction_simplification", "futoshiki", "game_of_life", "group_anagrams", "jugs", "kakurasu", "knight_swap",
    "knights_knaves", "letter_jumble", "mini_sudoku", "number_sorting", "palindrome_generation",
    "palindrome_partitioning", "path_star", "polynomial_equations", "pool_matrix", "power_function", "quantum_lock",
    "rearc", "shortest_path", "sokoban", "sudoku", "survo", "tower_of_hanoi", "tsumego", "word_ladder",
    "word_sorting",
])  # fmt: skip
"""Graded by reasoning-gym's own scorer, which executes nothing."""

RULED = frozenset(("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"))
"""Like `SCORED`, without a reference answer."""

REFUSED = {
    "codeio": "it executes code to generate its puzzles",
    "composite": "it mixes other data sets: name them one by one",
    "polynomial_multiplication": "its scorer executes the answer",
    "simple_integration": "its scorer executes the answer",
    "intermediate_integration": "its scorer executes the answer",
}

NAMES = NUMBER | YES_NO | TEXT | VERBATIM | EXPRESSION | SCORED | RULED
