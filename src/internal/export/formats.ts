/** The formats, shapes and compressions of exports: their names, each once. */

export const formats = ["csv", "ndjson", "json", "parquet"] as const

export type Format = (typeof formats)[number]

/** Forms of NDJSON that other systems read. */
export const shapes = ["ocsf", "cloudevents", "debezium"] as const

export type Shape = (typeof shapes)[number]

export const compressions = ["gzip", "zstd"] as const

export type Compression = (typeof compressions)[number]
