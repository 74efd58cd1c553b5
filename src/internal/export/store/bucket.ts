/**
 * A store on S3 from the name and the place of a bucket, as a configuration has them. The packages of AWS are loaded when it is
 * made, and find their credentials by themselves.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { mustBeObject, request } from "../../core/request.js"
import { ExportError } from "../exportError.js"
import { installed } from "../installed.js"
import { bucketStore, type Sdk } from "./s3.js"
import type { Service } from "./store.js"

export interface BucketOptions {
  readonly bucket: string
  /** In front of the names of files: `exports/`. Nothing unless given. */
  readonly prefix?: string | undefined
  /** Such as `eu-central-1`; unless given, what the SDK finds, for example in `AWS_REGION`. */
  readonly region?: string | undefined
  /** The URL of a server with the protocol of S3. It holds no credentials. */
  readonly endpoint?: string | undefined
  /** True if the bucket is a part of the path (`https://host/bucket/file`), as many such servers have it. */
  readonly pathStyle?: boolean | undefined
}

const textRule = { message: () => "must be a string that is not empty" }

const Text = Schema.String.annotations(textRule).pipe(Schema.nonEmptyString(textRule))

const bucketRule = { message: () => "must be the name of a bucket: 3 to 63 of a-z, 0-9, . and -" }

const BucketName = Schema.String.annotations(bucketRule).pipe(
  Schema.pattern(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, bucketRule)
)

const prefixRule = { message: () => "must be a string of at most 512 characters that does not begin with /" }

const Prefix = Schema.String.annotations(prefixRule).pipe(Schema.pattern(/^(?!\/)\P{Cc}{0,512}$/u, prefixRule))

const isEndpoint = (text: string): boolean => {
  if (!URL.canParse(text)) {
    return false
  }
  const { password, protocol, username } = new URL(text)
  return /^https?:$/.test(protocol) && username === "" && password === ""
}

const endpointRule = {
  message: () => "must be an http or https URL without credentials: these come from the environment"
}

const yesOrNoRule = { message: () => "must be true or false" }

/** A bucket as a configuration names it. */
export const BucketModel = Schema.Struct({
  bucket: BucketName,
  prefix: Schema.optional(Prefix),
  region: Schema.optional(Text),
  endpoint: Schema.optional(Schema.String.annotations(endpointRule).pipe(Schema.filter(isEndpoint, endpointRule))),
  pathStyle: Schema.optional(Schema.Boolean.annotations(yesOrNoRule))
}).annotations({ message: () => 'must be an object such as { bucket: "audit", region: "eu-central-1" }' })

const decode = request(BucketModel)

const packages = "@aws-sdk/client-s3 @aws-sdk/lib-storage @aws-sdk/s3-request-presigner"

const load = Effect.tryPromise({
  try: async () => {
    const [s3, storage, presigner] = await Promise.all([
      import("@aws-sdk/client-s3"),
      import("@aws-sdk/lib-storage"),
      import("@aws-sdk/s3-request-presigner")
    ])
    const sdk = {
      s3: installed(s3, "S3Client"),
      storage: installed(storage, "Upload"),
      presigner: installed(presigner, "getSignedUrl")
    } satisfies Sdk
    return { S3Client: s3.S3Client, sdk }
  },
  catch: (cause) =>
    new ExportError({
      reason: "NotInstalled",
      detail: `a store on S3 needs packages that are not installed: npm install ${packages}`,
      cause
    })
})

const noRegion = (cause: unknown) =>
  new ExportError({
    reason: "StoreFailed",
    detail: "the region of the bucket is not known: give it, or set AWS_REGION",
    cause
  })

const noCredentials = (cause: unknown) =>
  new ExportError({
    reason: "StoreFailed",
    detail:
      "there are no credentials for the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what else the SDK of AWS reads",
    cause
  })

/** The scope ends the connections of the client. */
export const bucket = Effect.fnUntraced(function* (options: BucketOptions) {
  yield* mustBeObject(options)
  const { bucket: name, endpoint, pathStyle, prefix, region } = yield* decode(options)
  const { S3Client, sdk } = yield* load
  const client = yield* Effect.acquireRelease(
    Effect.sync(
      () =>
        new S3Client({
          ...(region === undefined ? {} : { region }),
          ...(endpoint === undefined
            ? {}
            : {
                endpoint,
                // Servers other than that of AWS may not know the newer checksums.
                requestChecksumCalculation: "WHEN_REQUIRED",
                responseChecksumValidation: "WHEN_REQUIRED"
              }),
          ...(pathStyle === undefined ? {} : { forcePathStyle: pathStyle })
        })
    ),
    (made) => Effect.sync(() => made.destroy())
  )
  yield* Effect.tryPromise({ try: () => client.config.region(), catch: noRegion })
  yield* Effect.tryPromise({ try: () => client.config.credentials(), catch: noCredentials })
  return bucketStore(sdk, { client, bucket: name, prefix }) satisfies Service
})
