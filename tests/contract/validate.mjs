// node validate.mjs FOLDER SAMPLES: what @asyncapi/parser says of FOLDER/asyncapi.json, and which of the samples
// ({name, schema, value} each, `schema` a file of FOLDER or the pointer of a part of asyncapi.json) are not as
// their schema says. Prints one JSON object {diagnostics, invalid}.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
import Ajv from "ajv/dist/2020.js";
import formats from "ajv-formats";

const [folder, samples] = process.argv.slice(2);
const read = (path) => readFileSync(path, "utf8");
const text = read(`${folder}/asyncapi.json`);

const { diagnostics } = await new Parser().parse(text);

const ajv = new Ajv({ strict: false });
formats(ajv);
const known = new Map();
function check(schema) {
  if (!known.has(schema)) {
    const part = schema.startsWith("/")
      ? schema.slice(1).split("/").reduce((whole, name) => whole[name], JSON.parse(text))
      : JSON.parse(read(`${folder}/${schema}`));
    known.set(schema, ajv.compile(part));
  }
  return known.get(schema);
}
const invalid = [];
for (const { name, schema, value } of JSON.parse(read(samples))) {
  const valid = check(schema);
  if (!valid(value)) invalid.push({ name, errors: ajv.errorsText(valid.errors) });
}
console.log(JSON.stringify({ diagnostics, invalid }));
