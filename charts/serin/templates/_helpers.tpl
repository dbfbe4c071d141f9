{{- define "serin.labels" -}}
app.kubernetes.io/part-of: serin
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* A token of the pod's own account that only Serin's xDS server takes. The kubelet replaces it long before its end, so that
     it outlives hours without an API server; it ends with its pod in any case. */}}
{{- define "serin.xdsToken" -}}
- name: xds-token
  projected:
    sources:
    - serviceAccountToken: {audience: serin-xds, expirationSeconds: 86400, path: token}
{{- end }}

{{/* Pod Security "restricted", and a read-only root on top of it. */}}
{{- define "serin.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "serin.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
