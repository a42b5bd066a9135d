"""How Sphinx builds the documents."""

import pathlib
import sys

# What comes from the code is read from the code beside these documents, installed or not.
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / '_ext'), str(HERE.parents[1])]

extensions = [
    'cliff.sphinxext',
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'oslo_policy.sphinxext',
    'vmha_api',
    'vmha_events',
    'vmha_metrics',
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

# Those of every command: said once, in commands.rst.
autoprogram_cliff_application = 'openstack'
autoprogram_cliff_app_dist_name = 'vmha-nova'
autoprogram_cliff_ignored = [
    '--help', '--format', '--column', '--quote', '--noindent', '--max-width', '--fit-width',
    '--print-empty', '--sort-column', '--sort-ascending', '--sort-descending', '--prefix']
