"""`asr report`: one page about several scored runs, and the same numbers as Markdown, CSV and JSON.

records     what lies beside the scores of runs, and what is missing
words       utterances counted by speaker, length and signal-to-noise ratio; the most confused words
choice      which utterances are shown, and why
hearing     a shown utterance as the models see it: spectrogram, patches, posteriors, audio
alignment   reference and hypotheses word under word
svg         scales, axes and marks
figures     the charts
spectrum    the picture of a shown utterance
results     the table, and the main result in a sentence
origins     where the numbers come from
captions    the sentences that say what is counted
page        everything as one HTML file (template.html, style.css, script.js)
exports     the numbers as JSON, CSV and Markdown
command     the command line
"""
