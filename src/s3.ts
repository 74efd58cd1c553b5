/**
 * A store of export files on S3 and on what speaks like it. It needs the packages `@aws-sdk/client-s3`, `@aws-sdk/lib-storage` and
 * `@aws-sdk/s3-request-presigner`.
 *
 * @since 0.1.0
 */
import * as s3 from "@aws-sdk/client-s3"
import * as storage from "@aws-sdk/lib-storage"
import * as presigner from "@aws-sdk/s3-request-presigner"
import * as Layer from "effect/Layer"
import * as ExportStore from "./ExportStore.js"
import { bucketStore } from "./internal/export/store/s3.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Your client, with its region, credentials and endpoint. */
  readonly client: s3.S3Client
  /** The name of the bucket. */
  readonly bucket: string
  /** In front of the names of files: `exports/`. Nothing unless given. */
  readonly prefix?: string | undefined
  /** Bytes of a part of an upload: 8 MiB unless given, at least 5 MiB. Two parts are in memory at a time; a file has at most 10,000. */
  readonly partSize?: number | undefined
}

/**
 * A bucket as a store. Files are uploaded in parts while they are made, so that memory stays flat however large they are. A file is
 * there when its last part is. The role of the client needs `s3:PutObject`, `s3:GetObject`, `s3:DeleteObject`,
 * `s3:AbortMultipartUpload` and `s3:ListBucketMultipartUploads`. Throws `InvalidRequest` for an option that is not known.
 *
 * @since 0.1.0
 * @category constructors
 */
export const store = (options: Options): ExportStore.Service => bucketStore({ s3, storage, presigner }, options)

/**
 * The same as a layer.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { S3Client } from "@aws-sdk/client-s3"
 * import * as S3 from "threadline/s3"
 *
 * export const files = S3.layer({
 *   client: new S3Client({ region: "eu-central-1" }),
 *   bucket: "audit",
 *   prefix: "exports/"
 * })
 * ```
 */
export const layer = (options: Options): Layer.Layer<ExportStore.ExportStore> =>
  Layer.succeed(ExportStore.ExportStore, store(options))
