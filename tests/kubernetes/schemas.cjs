// SPDX-License-Identifier: Apache-2.0
// Checks Kubernetes objects against the schemas that the npm package kubernetes-models has from the
// API's own description: a JSON list on standard input, a line for each fault, exit code 1 if any.
//
//   node schemas.cjs FOLDER_WITH_node_modules < objects.json
//
// The schemas allow fields that they do not name, as the API server did before it was strict; here
// a field is unknown when the check never looked at it.
const fs = require('fs');
const path = require('path');

function schemaOf(folder, object) {
  const [group, version] = object.apiVersion.includes('/')
    ? object.apiVersion.split('/') : ['core', object.apiVersion];
  const capital = (word) => word[0].toUpperCase() + word.slice(1);
  const name = `IoK8sApi${capital(group.split('.')[0])}${capital(version)}${object.kind}.js`;
  const file = path.join(folder, 'node_modules', 'kubernetes-models', '_schemas', name);
  return fs.existsSync(file) ? require(file).validate : null;
}

// `value`, noting under `seen` which of its fields are read, however deep.
function watched(value, seen) {
  if (value === null || typeof value !== 'object') return value;
  const children = {};
  return new Proxy(value, {
    get(target, key) {
      if (typeof key === 'symbol' || !Object.hasOwn(target, key)) return target[key];
      seen[key] ??= {};
      return (children[key] ??= { view: watched(target[key], seen[key]) }).view;
    },
  });
}

function unread(value, seen, at) {
  if (value === null || typeof value !== 'object') return [];
  return Object.keys(value).flatMap((key) =>
    key in seen ? unread(value[key], seen[key], `${at}/${key}`) : [`${at}/${key}: unknown field`]);
}

function faults(folder, object) {
  const validate = schemaOf(folder, object);
  if (validate === null) return [`: no schema for ${object.apiVersion} ${object.kind}`];
  const seen = {};
  if (!validate(watched(object, seen))) {
    return validate.errors.map((e) => `${e.instancePath}: ${e.message ?? e.keyword} ` +
      JSON.stringify(e.params));
  }
  return unread(object, seen, '');
}

const objects = JSON.parse(fs.readFileSync(0, 'utf8'));
const lines = objects.flatMap((object) => faults(process.argv[2], object)
  .map((fault) => `${object.kind} ${object.metadata?.name}${fault}`));
lines.forEach((line) => console.log(line));
process.exitCode = lines.length > 0 ? 1 : 0;
