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

{{/* Bytes of the router's heap at which it turns requests away: 70 % of its memory, since the process is more than its heap,
     and requests that come between two looks at the heap need some of the rest. */}}
{{- define "serin.routerHeap" -}}
{{- $memory := dig "limits" "memory" "1Gi" .Values.router.resources -}}
{{- $number := regexFind "^[0-9.]+" $memory -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf (float64 $number) (get $units (trimPrefix $number $memory)) 0.7 | int64 -}}
{{- end }}

{{/* Where pods run. Without words of the user's own, on different nodes when there are several. */}}
{{- define "serin.scheduling" -}}
topologySpreadConstraints:
{{- with .values.topologySpreadConstraints }}
{{- toYaml . | nindent 0 }}
{{- else }}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {matchLabels: {app.kubernetes.io/name: {{ .name }}}}
  # Of a new version's pods among themselves, or an update would crowd them where the old ones are not.
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
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
