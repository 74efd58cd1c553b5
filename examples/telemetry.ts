import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import { type PushMetricExporter, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics"
import { BatchSpanProcessor, type SpanExporter } from "@opentelemetry/sdk-trace-base"

/** Give it the exporters of your collector, such as `OTLPTraceExporter` and `OTLPMetricExporter`. */
export const telemetry = (spans: SpanExporter, metrics: PushMetricExporter) =>
  NodeSdk.layer(() => ({
    resource: { serviceName: "billing" },
    spanProcessor: new BatchSpanProcessor(spans),
    metricReader: new PeriodicExportingMetricReader({ exporter: metrics })
  }))
