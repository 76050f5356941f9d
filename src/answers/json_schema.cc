#include <boost/json/serialize.hpp>

#include "answers/schema.h"
#include "base/json_writer.h"

namespace ingot::answers {
namespace {

const char* JsonType(Schema::Type type) {
  switch (type) {
    case Schema::Type::kNull:
      return "null";
    case Schema::Type::kBoolean:
      return "boolean";
    case Schema::Type::kInteger:
      return "integer";
    case Schema::Type::kNumber:
      return "number";
    case Schema::Type::kString:
      return "string";
    case Schema::Type::kArray:
      return "array";
    case Schema::Type::kObject:
      return "object";
    default:
      return "";
  }
}

constexpr const char* kNull = R"({"type":"null"})";

// Of a schema: what JSON Schema says of its type and bounds.
class Writer {
 public:
  explicit Writer(std::vector<const Schema*>* components) : components_(components) {}

  // `nullable`: null is allowed too, where the schema itself does not say so. A component is what it is without null,
  // which stands beside the references to it: programs that generate clients read it only so.
  std::string Value(const Schema& schema, bool nullable) {
    nullable = nullable || schema.nullable;
    if (schema.name.empty()) return Inline(schema, nullable);
    if (std::ranges::find(*components_, schema.name, [](const Schema* s) { return s->name; }) == components_->end()) {
      components_->push_back(&schema);
    }
    const std::string reference = JsonObject().Add("$ref", "#/components/schemas/" + schema.name).Text();
    return nullable ? JsonObject().AddJson("anyOf", fmt::format("[{},{}]", reference, kNull)).Text() : reference;
  }

  std::string Inline(const Schema& schema, bool nullable) {
    JsonObject json;
    if (schema.only_boolean) {
      // An enum of booleans is nothing that those programs know.
      const std::string only = JsonObject().Add("type", "boolean").Add("const", *schema.only_boolean).Text();
      nullable ? json.AddJson("anyOf", fmt::format("[{},{}]", only, kNull))
               : json.Add("type", "boolean").Add("const", *schema.only_boolean);
    } else if (schema.type == Schema::Type::kAnyOf) {
      std::vector<std::string> alternatives;
      for (const Schema& alternative : schema.alternatives) alternatives.push_back(Value(alternative, false));
      if (nullable) alternatives.emplace_back(kNull);
      json.AddJson("anyOf", fmt::format("[{}]", fmt::join(alternatives, ",")));
    } else if (schema.type != Schema::Type::kAny) {
      const char* type = JsonType(schema.type);
      nullable&& schema.type != Schema::Type::kNull ? json.AddJson("type", fmt::format(R"(["{}","null"])", type))
                                                    : json.Add("type", type);
    }
    AddBounds(schema, nullable, json);
    if (!schema.description.empty()) json.Add("description", schema.description);
    if (!schema.default_value.is_null()) json.AddJson("default", Json(schema.default_value));
    if (!schema.example.is_null()) json.AddJson("example", Json(schema.example));
    return json.Text();
  }

 private:
  static std::string Json(const boost::json::value& value) {
    if (!value.is_double()) return boost::json::serialize(value);
    std::string out;
    AppendJsonNumber(out, value.get_double());
    return out;
  }

  void AddBounds(const Schema& schema, bool nullable, JsonObject& json) {
    switch (schema.type) {
      case Schema::Type::kInteger:
        json.Add("minimum", schema.min_integer).Add("maximum", schema.max_integer);
        break;
      case Schema::Type::kNumber:
        json.Add("minimum", schema.minimum).Add("maximum", schema.maximum);
        break;
      case Schema::Type::kString:
        AddStringBounds(schema, nullable, json);
        break;
      case Schema::Type::kArray:
        json.AddJson("items", Value(*schema.items, false));
        if (schema.min_size > 0) json.Add("minItems", schema.min_size);
        json.Add("maxItems", schema.max_size);
        break;
      case Schema::Type::kObject:
        AddObjectBounds(schema, json);
        break;
      default:
        break;
    }
  }

  static void AddStringBounds(const Schema& schema, bool nullable, JsonObject& json) {
    if (schema.values.empty()) {
      if (schema.min_size > 0) json.Add("minLength", schema.min_size);
      if (schema.max_size > 0) json.Add("maxLength", schema.max_size);
      return;
    }
    std::vector<std::optional<std::string>> values(schema.values.begin(), schema.values.end());
    if (nullable) values.emplace_back(std::nullopt);
    json.AddJson("enum", JsonList(values));
  }

  void AddObjectBounds(const Schema& schema, JsonObject& json) {
    if (schema.additional) {
      json.AddJson("additionalProperties", Value(*schema.additional, false)).Add("maxProperties", schema.max_size);
    }
    if (schema.properties.empty()) return;
    JsonObject properties;
    std::vector<std::string> required;
    for (const Property& property : schema.properties) {
      properties.AddJson(property.name, Value(property.schema, !property.required));
      if (property.required) required.push_back(property.name);
    }
    json.AddJson("properties", properties.Text());
    if (!required.empty()) json.AddJson("required", JsonList(required));
    if (schema.needs_one_of.empty()) return;
    // "required" takes null for a value; that it counts as absent is in the description.
    json.AddJson(schema.only_one ? "oneOf" : "anyOf", JsonList(schema.needs_one_of, [&](const std::string& name) {
                   JsonObject needs;
                   needs.AddJson("required", JsonList(std::vector{name}));
                   const auto property = std::ranges::find(schema.properties, name, &Property::name);
                   const auto not_null = JsonObject().AddJson(name, JsonObject().AddJson("not", kNull).Text());
                   if (!property->schema.nullable) needs.AddJson("properties", not_null.Text());
                   return needs.Text();
                 }));
  }

  std::vector<const Schema*>* components_;
};

}  // namespace

std::string JsonSchema(const Schema& schema, std::vector<const Schema*>* components) {
  return Writer(components).Value(schema, false);
}

std::string JsonComponent(const Schema& schema, std::vector<const Schema*>* components) {
  return Writer(components).Inline(schema, false);
}

}  // namespace ingot::answers
