/**
 * A store of export files on S3 and on what speaks like it. It needs the packages `@aws-sdk/client-s3`, `@aws-sdk/lib-storage` and
 * `@aws-sdk/s3-request-presigner`.
 *
 * @since 0.1.0
 */
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  type S3Client
} from "@aws-sdk/client-s3"
import { Upload } from "@aws-sdk/lib-storage"
import { getSignedUrl } from "@aws-sdk/s3-request-presigner"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import { PassThrough } from "node:stream"
import { ExportError } from "./ExportJobs.js"
import * as ExportStore from "./ExportStore.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Your client, with its region, credentials and endpoint. */
  readonly client: S3Client
  readonly bucket: string
  /** In front of the names of files: `exports/`. Nothing unless given. */
  readonly prefix?: string | undefined
  /** Bytes of a part of an upload: 8 MiB unless given, at least 5 MiB. Two parts are in memory at a time; a file has at most 10,000. */
  readonly partSize?: number | undefined
}

const usualPart = 8 * 1024 * 1024

/** The name of an error of S3, such as `AccessDenied`. Its message may name what it should not. */
const nameOf = (cause: unknown): string =>
  Predicate.hasProperty(cause, "name") && typeof cause.name === "string" ? cause.name : "unknown error"

const failed = (what: string) => (cause: unknown) =>
  new ExportError({ reason: "StoreFailed", detail: `the store could not ${what} the file (${nameOf(cause)})`, cause })

const isMissing = (cause: unknown): boolean => nameOf(cause) === "NoSuchKey" || nameOf(cause) === "NotFound"

const gone = (cause: unknown) =>
  isMissing(cause)
    ? new ExportError({ reason: "Expired", detail: "the file of this export is not there any more", cause })
    : failed("read")(cause)

/** Waits until the other end has room. */
const put = (body: PassThrough, piece: Uint8Array): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (body.destroyed || body.write(piece)) {
      return resume(Effect.void)
    }
    const forget = () => {
      body.off("drain", go)
      body.off("close", go)
    }
    const go = () => {
      forget()
      resume(Effect.void)
    }
    body.once("drain", go)
    body.once("close", go)
    return Effect.sync(forget)
  })

/**
 * A bucket as a store. Files are uploaded in parts while they are made, so that memory stays flat however large they are. A file is
 * there when its last part is. The role of the client needs `s3:PutObject`, `s3:GetObject`, `s3:DeleteObject`,
 * `s3:AbortMultipartUpload` and `s3:ListBucketMultipartUploads`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const store = ({ bucket, client, partSize = usualPart, prefix = "" }: Options): ExportStore.Service => {
  const at = (name: string) => ({ Bucket: bucket, Key: `${prefix}${name}` })

  const attempt = <A>(what: string, run: (abortSignal: AbortSignal) => Promise<A>): Effect.Effect<A, ExportError> =>
    Effect.tryPromise({ try: run, catch: failed(what) })

  /** What is left of uploads that nobody ended. A server that cannot list them has its own way to clean up. */
  const abortUploads = (name: string): Effect.Effect<void> =>
    Effect.gen(function* () {
      const { Bucket, Key } = at(name)
      const { Uploads = [] } = yield* attempt("list", (abortSignal) =>
        client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: Key }), { abortSignal })
      )
      for (const { Key: found, UploadId } of Uploads) {
        if (found === Key) {
          yield* attempt("abort", (abortSignal) =>
            client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }), { abortSignal })
          )
        }
      }
    }).pipe(Effect.catchAll(() => Effect.void))

  const remove = (name: string): Effect.Effect<void, ExportError> =>
    attempt("remove", (abortSignal) => client.send(new DeleteObjectCommand(at(name)), { abortSignal })).pipe(
      Effect.catchIf(
        ({ cause }) => isMissing(cause),
        () => Effect.void
      ),
      Effect.zipRight(abortUploads(name))
    )

  return {
    write: (name, bytes, { contentEncoding, contentType }) =>
      Effect.suspend(() => {
        const body = new PassThrough({ highWaterMark: 1024 * 1024 })
        // The upload reads it, and says what is wrong.
        body.on("error", () => undefined)
        const upload = new Upload({
          client,
          params: {
            ...at(name),
            Body: body,
            ContentType: contentType,
            ...(contentEncoding === undefined ? {} : { ContentEncoding: contentEncoding })
          },
          partSize,
          queueSize: 1,
          leavePartsOnError: false
        })
        const fed = Effect.zipRight(
          Stream.runForEach(bytes, (piece) => put(body, piece)),
          Effect.sync(() => body.end())
        )
        const sent = Effect.tryPromise({ try: () => upload.done(), catch: failed("take") })
        const abort = Effect.promise(async () => {
          body.destroy()
          await upload.abort().catch(() => undefined)
        })
        return Effect.all([fed, sent], { concurrency: 2, discard: true }).pipe(
          Effect.onError(() =>
            Effect.zipRight(
              abort,
              Effect.catchAll(remove(name), () => Effect.void)
            )
          )
        )
      }),
    read: (name) =>
      Stream.unwrap(
        Effect.map(
          Effect.tryPromise({
            try: (abortSignal) => client.send(new GetObjectCommand(at(name)), { abortSignal }),
            catch: gone
          }),
          ({ Body }) =>
            Body === undefined
              ? Stream.empty
              : Stream.fromReadableStream(() => Body.transformToWebStream(), failed("read"))
        )
      ),
    remove,
    link: (name, { expiresIn, fileName }) =>
      attempt("link", () =>
        getSignedUrl(
          client,
          new GetObjectCommand({ ...at(name), ResponseContentDisposition: `attachment; filename="${fileName}"` }),
          { expiresIn: Math.floor(Duration.toSeconds(expiresIn)) }
        )
      )
  }
}

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
