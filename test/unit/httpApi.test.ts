import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiClient from "@effect/platform/HttpApiClient"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpClient from "@effect/platform/HttpClient"
import * as OpenApi from "@effect/platform/OpenApi"
import { NodeHttpServer } from "@effect/platform-node"
import { expect, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Json from "../../src/Json.js"
import * as Page from "../../src/Page.js"
import * as Query from "../../src/Query.js"
import { InvalidRequest, NotFound } from "../../src/ThreadlineError.js"

const change: Query.Change = {
  id: "9007199254740993",
  transactionId: "7",
  capturedAt: "2026-11-22T10:00:00.123456Z",
  tableSchema: "public",
  tableName: "invoices",
  partitionName: null,
  op: "insert",
  rowPk: { id: "9007199254740993" },
  rowKey: "9007199254740993",
  previousRowKey: null,
  changedFields: null,
  changedFrom: null,
  dataAfter: { id: 9007199254740993n, total: BigDecimal.make(110n, 2), paid: true },
  details: null,
  transaction: {
    id: "7",
    occurredAt: "2026-11-22T10:00:00.000000Z",
    actor: null,
    correlationId: null,
    requestId: null,
    jobId: null,
    traceId: null,
    source: null,
    remoteIp: null,
    meta: {},
    contextError: null,
    dbUser: "app",
    applicationName: null,
    clientAddr: null
  },
  action: null
}

const page = Page.make([change], Option.some(Page.Cursor.make("next")))

const timeline = Page.schema(Query.Change)

const audit = HttpApiGroup.make("audit")
  .add(HttpApiEndpoint.get("plain", "/plain").addSuccess(timeline))
  .add(HttpApiEndpoint.get("exact", "/exact").addSuccess(Json.fromText(timeline)))
  .add(
    HttpApiEndpoint.get("missing", "/missing")
      .addSuccess(Query.AsOf)
      .addError(NotFound, { status: 404 })
      .addError(InvalidRequest, { status: 400 })
  )
  .add(HttpApiEndpoint.get("incident", "/incident").addSuccess(Query.Incident))

const api = HttpApi.make("host").add(audit)

const server = HttpApiBuilder.serve().pipe(
  Layer.provide(
    Layer.provide(
      HttpApiBuilder.api(api),
      HttpApiBuilder.group(api, "audit", (handlers) =>
        handlers
          .handle("plain", () => Effect.succeed(page))
          .handle("exact", () => Effect.succeed(page))
          .handle("missing", () => Effect.fail(new NotFound({ subject: "row", id: "1" })))
          .handle("incident", () => Effect.die("not asked for"))
      )
    )
  ),
  Layer.provideMerge(NodeHttpServer.layerTest)
)

const exact = Json.stringify(page)

it.effect("an endpoint of a page in JSON text answers every number exactly, whatever the platform", () =>
  Effect.gen(function* () {
    const response = yield* HttpClient.get("/exact")
    expect(response.headers["content-type"]).toMatch(/^application\/json/)
    expect(yield* response.text).toBe(exact)
    expect(exact).toContain('"dataAfter":{"id":9007199254740993,"total":1.10,"paid":true}')
  }).pipe(Effect.provide(server))
)

it.effect(
  "an endpoint of a page answers numbers exactly if the platform can write them, else their digits in strings",
  () =>
    Effect.gen(function* () {
      const answered = yield* Effect.flatMap(HttpClient.get("/plain"), (response) => response.text)
      expect(answered).toBe(
        "rawJSON" in JSON
          ? exact
          : exact.replace('"id":9007199254740993,"total":1.10', '"id":"9007199254740993","total":"1.10"')
      )
      expect(answered).toBe(JSON.stringify(page))
    }).pipe(Effect.provide(server))
)

it.effect("a typed client reads the page again, with its numbers", () =>
  Effect.gen(function* () {
    const client = yield* HttpApiClient.make(api)
    const read = yield* client.audit.exact()
    expect(read).toEqual(page)
    expect(Json.stringify(read)).toBe(exact)
  }).pipe(Effect.provide(server))
)

it.effect("errors of a read are errors of an endpoint", () =>
  Effect.gen(function* () {
    const client = yield* HttpApiClient.make(api)
    const failure = yield* Effect.flip(client.audit.missing())
    expect(failure).toBeInstanceOf(NotFound)
    expect((yield* HttpClient.get("/missing")).status).toBe(404)
  }).pipe(Effect.provide(server))
)

it("an OpenAPI document describes pages and models, in both forms alike", () => {
  const document = OpenApi.fromApi(api)
  const body = (path: string): unknown =>
    document.paths[path]?.get?.responses[200]?.content?.["application/json"]?.schema
  expect(body("/plain")).toMatchObject({
    type: "object",
    required: ["items", "nextCursor", "hasMore"],
    properties: { items: { type: "array", items: { $ref: "#/components/schemas/threadline.Change" } } }
  })
  expect(body("/exact")).toEqual(body("/plain"))
  expect(document.components.schemas["threadline.Change"]).toMatchObject({
    type: "object",
    properties: { id: { type: "string" }, capturedAt: { type: "string", format: "date-time" } }
  })
  // OpenAPI allows these characters in the name of a component.
  expect(Object.keys(document.components.schemas).filter((name) => !/^[\w.-]+$/.test(name))).toEqual([])
  expect(body("/missing")).toMatchObject({ $ref: "#/components/schemas/threadline.AsOf" })
  expect(Schema.is(timeline)(page)).toBe(true)
})
