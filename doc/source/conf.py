"""How Sphinx builds the documents."""

import pathlib
import sys

# The tables of states are read from the code beside these documents, installed or not.
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / '_ext'), str(HERE.parents[1])]

extensions = [
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'vmha_tables',
]

project = 'vmha-nova'
copyright = 'the vmha-nova developers'
master_doc = 'index'
exclude_patterns = ['_build', '_ext']
pygments_style = 'native'
html_theme = 'openstackdocs'

openstackdocs_repo_name = 'vmha-nova'
openstackdocs_auto_name = False
openstackdocs_pdf_link = False
