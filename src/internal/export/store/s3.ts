/**
 * A bucket as a store, on S3 or on a server with its protocol. The packages of AWS are parameters, because a host may have none
 * of them.
 */
import type * as ClientS3 from "@aws-sdk/client-s3"
import type * as LibStorage from "@aws-sdk/lib-storage"
import type * as Presigner from "@aws-sdk/s3-request-presigner"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import { PassThrough } from "node:stream"
import { notAnObject, unknownField } from "../../core/request.js"
import { ExportError } from "../exportError.js"
import type { Service } from "./store.js"

/** The packages of AWS. */
export interface Sdk {
  readonly s3: Pick<
    typeof ClientS3,
    "AbortMultipartUploadCommand" | "DeleteObjectCommand" | "GetObjectCommand" | "ListMultipartUploadsCommand"
  >
  readonly storage: Pick<typeof LibStorage, "Upload">
  readonly presigner: Pick<typeof Presigner, "getSignedUrl">
}

export interface Bucket {
  readonly client: ClientS3.S3Client
  readonly bucket: string
  readonly prefix?: string | undefined
  readonly partSize?: number | undefined
}

const optionNames = { client: true, bucket: true, prefix: true, partSize: true } as const satisfies {
  readonly [Field in keyof Required<Bucket>]: true
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
    ? new ExportError({ reason: "Expired", detail: "the file of this export is no longer there", cause })
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

export const bucketStore = (
  {
    presigner: { getSignedUrl },
    s3: { AbortMultipartUploadCommand, DeleteObjectCommand, GetObjectCommand, ListMultipartUploadsCommand },
    storage: { Upload }
  }: Sdk,
  options: Bucket
): Service => {
  const refusal = notAnObject(options) ?? unknownField(options, optionNames)
  if (refusal !== undefined) {
    throw refusal
  }
  const { bucket, client, partSize = usualPart, prefix = "" } = options
  const at = (name: string) => ({ Bucket: bucket, Key: `${prefix}${name}` })

  const attempt = <A>(what: string, run: (abortSignal: AbortSignal) => Promise<A>): Effect.Effect<A, ExportError> =>
    Effect.tryPromise({ try: run, catch: failed(what) })

  /** Aborts unfinished uploads. A server that cannot list them cleans up in its own way. */
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

  /** The uploads first: one that another worker ends meanwhile would become an object after the object was removed. */
  const remove = (name: string): Effect.Effect<void, ExportError> =>
    Effect.zipRight(
      abortUploads(name),
      attempt("remove", (abortSignal) => client.send(new DeleteObjectCommand(at(name)), { abortSignal })).pipe(
        Effect.catchIf(
          ({ cause }) => isMissing(cause),
          () => Effect.void
        )
      )
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
