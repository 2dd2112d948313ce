# Tenant {{ demand.name }}: PowerShell 7 with the module Microsoft.Graph, for what Azure CLI cannot do.
$ErrorActionPreference = 'Stop'
{% if new_environment %}
{{ new_environment }}
{% endif %}
{{ to_graph(["Application.Read.All"]) }}
$sp = Get-MgServicePrincipal -Filter "appId eq {{ (machine or tenant.client_id) | ps }}"
{% include "narrow.ps1" %}
