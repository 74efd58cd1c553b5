import { S3Client } from "@aws-sdk/client-s3"
import * as Effect from "effect/Effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import S3rver from "s3rver"

/** A server with the protocol of S3, and the bucket `audit`. */
export const server = Effect.acquireRelease(
  Effect.promise(async () => {
    const directory = mkdtempSync(join(tmpdir(), "threadline-s3-"))
    const running = new S3rver({
      port: 0,
      address: "127.0.0.1",
      silent: true,
      directory,
      configureBuckets: [{ name: "audit", configs: [] }]
    })
    const { port } = await running.run()
    const endpoint = `http://127.0.0.1:${port}`
    const clientOf = () =>
      new S3Client({
        region: "us-east-1",
        endpoint,
        forcePathStyle: true,
        maxAttempts: 1,
        requestChecksumCalculation: "WHEN_REQUIRED",
        responseChecksumValidation: "WHEN_REQUIRED",
        credentials: { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" }
      })
    return { running, directory, endpoint, clientOf }
  }),
  ({ directory, running }) =>
    Effect.promise(async () => {
      await running.close()
      rmSync(directory, { recursive: true, force: true })
    })
)

/** Sets the variables of the environment that the SDK reads, until the scope ends. */
const environment = (variables: Readonly<Record<string, string | undefined>>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = Object.keys(variables).map((name) => [name, process.env[name]] as const)
      set(Object.entries(variables))
      return before
    }),
    (before) => Effect.sync(() => set(before))
  )

const set = (variables: ReadonlyArray<readonly [string, string | undefined]>): void => {
  for (const [name, value] of variables) {
    if (value === undefined) {
      Reflect.deleteProperty(process.env, name)
    } else {
      process.env[name] = value
    }
  }
}

/** An environment without any variable of AWS. */
export const nothing = environment({
  AWS_ACCESS_KEY_ID: undefined,
  AWS_SECRET_ACCESS_KEY: undefined,
  AWS_SESSION_TOKEN: undefined,
  AWS_PROFILE: undefined,
  AWS_REGION: undefined,
  AWS_EC2_METADATA_DISABLED: "true",
  AWS_CONFIG_FILE: "/nowhere",
  AWS_SHARED_CREDENTIALS_FILE: "/nowhere"
})

export const credentials = environment({ AWS_ACCESS_KEY_ID: "S3RVER", AWS_SECRET_ACCESS_KEY: "S3RVER" })
