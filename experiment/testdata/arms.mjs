// Reads {payload, users} from standard input and prints, for every user, the value of every feature as
// GrowthBook's SDK finds it. The SDK's file is the first argument.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { GrowthBook } = await import(pathToFileURL(process.argv[2]));
const { payload, users } = JSON.parse(readFileSync(0, "utf8"));
const names = Object.keys(payload.features);
const out = users.map((attributes) => {
  const gb = new GrowthBook({ attributes });
  gb.initSync({ payload });
  return Object.fromEntries(names.map((name) => [name, gb.getFeatureValue(name, null)]));
});
console.log(JSON.stringify(out));
