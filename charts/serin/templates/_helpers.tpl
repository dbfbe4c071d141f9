{{- define "serin.labels" -}}
app.kubernetes.io/part-of: serin
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- /* Without those that the chart's objects have: a key that is there twice is no YAML to every reader. */}}
{{- with omit (.Values.commonLabels | default dict) "app.kubernetes.io/part-of" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "app.kubernetes.io/name" "serin.dev/model-deployment" }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a Deployment's pods: the user's, unless Serin has one of that name. (Where it is
     empty, `merge` would take the user's.) */}}
{{- define "serin.podMetadata" -}}
{{- $labels := merge (dict) (include "serin.labels" .root | fromYaml) (.values.podLabels | default dict) }}
{{- range $name, $value := .ownLabels }}{{ $_ := set $labels $name $value }}{{ end -}}
labels: {{- $labels | toYaml | nindent 2 }}
{{- with merge (dict) .ownAnnotations (.values.podAnnotations | default dict) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Environment variables of the chart (`own`, YAML) and the user's. One that is there twice is hard to see, so it is refused. */}}
{{- define "serin.environment" -}}
{{- $taken := list }}
{{- range fromYamlArray .own }}{{ $taken = append $taken .name }}{{ end }}
{{- range .extra }}
{{- if has .name $taken }}
{{- fail (printf "%s.extraEnv: %s is set by the chart: use the value of the chart that is for it, or leave it out" $.part .name) }}
{{- end }}
{{- end }}
{{- .own }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
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
{{- $memory := dig "limits" "memory" "1Gi" (.Values.router.resources | default dict) -}}
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
priorityClassName: {{ . | quote }}
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

{{- /* The webhooks as the operator reads them: without the names of Secrets, which are mounted. */}}
{{- define "serin.webhooks" -}}
{{- $found := list -}}
{{- $names := list -}}
{{- range .Values.webhooks -}}
{{- if has .name $names -}}
{{- fail (printf "webhooks: %s is there twice: rename one" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $found = append $found (dict "name" .name "url" (.url | default "") "namespaces" (.namespaces | default list) "format" (.format | default "CloudEvents") "events" (.events | default list)) -}}
{{- end -}}
{{- $found | toJson -}}
{{- end }}
