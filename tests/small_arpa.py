"""A word 2-gram in ARPA that can be checked by hand; its words are spelt with A and B."""

ARPA = r"""\data\
ngram 1=6
ngram 2=3

\1-grams:
-99 <s> -0.3
-0.7 </s>
-1.0 <unk>
-0.5 A -0.2
-0.9 AB -0.1
-1.2 BA

\2-grams:
-0.2 <s> AB
-0.4 A BA
-0.6 AB A

\end\
"""
