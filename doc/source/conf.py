"""How Sphinx builds the documents."""

extensions = [
    'openstackdocstheme',
    'oslo_config.sphinxext',
]

project = 'vmha-nova'
copyright = 'the vmha-nova developers'
master_doc = 'index'
exclude_patterns = ['_build']
pygments_style = 'native'
html_theme = 'openstackdocs'

openstackdocs_repo_name = 'vmha-nova'
openstackdocs_auto_name = False
openstackdocs_pdf_link = False
