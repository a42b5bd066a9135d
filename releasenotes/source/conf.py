"""How Sphinx builds the release notes."""

extensions = [
    'openstackdocstheme',
    'reno.sphinxext',
]

project = 'vmha-nova release notes'
copyright = 'the vmha-nova developers'
master_doc = 'index'
version = ''
release = ''
pygments_style = 'native'
html_theme = 'openstackdocs'

openstackdocs_repo_name = 'vmha-nova'
openstackdocs_auto_name = False
openstackdocs_auto_version = False
