/** What the host offers over HTTP. Its OpenAPI document is made of this. */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Schema from "effect/Schema"
import { Audit, Page, Query, ThreadlineError } from "threadline"
import { Authorization, SignIn, Unauthorized } from "./Session.js"

export class InvoiceNotFound extends Schema.TaggedError<InvoiceNotFound>()(
  "InvoiceNotFound",
  { id: Schema.Int },
  HttpApiSchema.annotations({ status: 404 })
) {}

export class Invoice extends Schema.Class<Invoice>("Invoice")({
  id: Schema.Int,
  customer: Schema.String,
  state: Schema.Literal("draft", "paid"),
  /** An amount, in digits. */
  total: Schema.String
}) {}

export class NewInvoice extends Schema.Class<NewInvoice>("NewInvoice")({
  customer: Schema.NonEmptyTrimmedString.pipe(Schema.maxLength(200)),
  total: Schema.String.pipe(Schema.pattern(/^\d{1,10}(\.\d{1,2})?$/))
}) {}

const id = HttpApiSchema.param("id", Schema.NumberFromString.pipe(Schema.int(), Schema.between(1, 2 ** 31 - 1)))

const sessions = HttpApiGroup.make("sessions").add(
  HttpApiEndpoint.post("signIn", "/sessions")
    .setPayload(SignIn)
    .addSuccess(HttpApiSchema.NoContent)
    .addError(Unauthorized)
)

const invoices = HttpApiGroup.make("invoices")
  .add(HttpApiEndpoint.get("list", "/invoices").addSuccess(Schema.Array(Invoice)))
  .add(HttpApiEndpoint.post("create", "/invoices").setPayload(NewInvoice).addSuccess(Invoice, { status: 201 }))
  .add(HttpApiEndpoint.post("pay")`/invoices/${id}/pay`.addSuccess(Invoice).addError(InvoiceNotFound))
  .addError(Audit.Unavailable)
  .middleware(Authorization)

/** What the record says, to people of a tenant of their own rows alone. */
const audit = HttpApiGroup.make("audit")
  .add(
    HttpApiEndpoint.get("timeline", "/audit/timeline")
      .setUrlParams(Query.FilterFromUrlParams)
      .addSuccess(Page.schema(Query.Change))
  )
  .add(
    HttpApiEndpoint.get("export", "/audit/export")
      .setUrlParams(Query.FilterFromUrlParams)
      .addSuccess(HttpApiSchema.Text({ contentType: "text/csv" }))
  )
  .addError(ThreadlineError.InvalidRequest, { status: 400 })
  .addError(ThreadlineError.NotFound, { status: 404 })
  .middleware(Authorization)

export class Api extends HttpApi.make("invoicing").add(sessions).add(invoices).add(audit) {}
