"""Records in, one HTML page and one PDF out.  The modules, in the order in which a report is made:

- load reads the records and sets aside what is not valid;
- summary sorts them into rows, and stats compares the rows: raw numbers only;
- show turns numbers into strings, prose holds the texts that never change;
- charts draws numbers, pictures draws images and maps, both with what drawing holds;
- run_section, tables, findings, discussion and verification each write a part of the content;
- page_content puts the parts into one dictionary of strings, with what only the PDF shows;
- explorer makes the interactive maps of the HTML page;
- render fills the templates and writes both files.
"""
