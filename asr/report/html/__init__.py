"""`asr report`: one page about several scored runs, and the same numbers as Markdown, CSV and JSON.

records     the runs, gathered: scores, alignments, learning curves, and what is missing
words       utterances counted by speaker, length and signal-to-noise ratio; the most confused words
choice      which utterances are shown, and why
hearing     a shown utterance as the models see it: spectrogram, patches, posteriors, audio
svg         scales, axes and marks
figures     the charts
spectrum    the picture of a shown utterance
page        everything as one HTML file
tables      everything as JSON, CSV and Markdown
"""
