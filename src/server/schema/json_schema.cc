#include <boost/json/serialize.hpp>

#include "server/schema/schema.h"

namespace ingot::server {
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

class Writer {
 public:
  Writer(std::string& out, std::vector<const Schema*>* components) : out_(out), components_(components) {}

  // `nullable`: null is allowed too, where the schema itself does not say so.
  void Value(const Schema& schema, bool nullable) {
    if (schema.name.empty()) return Inline(schema, nullable);
    if (std::ranges::find(*components_, schema.name, [](const Schema* s) { return s->name; }) == components_->end()) {
      components_->push_back(&schema);
    }
    const std::string reference = R"({"$ref":"#/components/schemas/)" + schema.name + "\"}";
    out_ += nullable ? R"({"anyOf":[)" + reference + R"(,{"type":"null"}]})" : reference;
  }

  void Inline(const Schema& schema, bool nullable) {
    out_ += '{';
    first_ = true;
    nullable = nullable || schema.nullable;
    if (schema.type == Schema::Type::kAnyOf) {
      Alternatives(schema, nullable);
    } else if (schema.type != Schema::Type::kAny) {
      Key("type");
      out_ += nullable && schema.type != Schema::Type::kNull ? fmt::format(R"(["{}","null"])", JsonType(schema.type))
                                                             : fmt::format("\"{}\"", JsonType(schema.type));
    }
    Bounds(schema, nullable);
    if (!schema.description.empty()) Text("description", schema.description);
    if (!schema.default_value.is_null()) Json("default", schema.default_value);
    if (!schema.example.is_null()) Json("example", schema.example);
    out_ += '}';
  }

 private:
  void Key(std::string_view key) {
    if (!first_) out_ += ',';
    first_ = false;
    AppendJsonString(out_, key);
    out_ += ':';
  }
  void Text(std::string_view key, std::string_view text) {
    Key(key);
    AppendJsonString(out_, text);
  }
  void Json(std::string_view key, const boost::json::value& value) {
    Key(key);
    if (value.is_double()) return AppendJsonNumber(out_, value.get_double());
    out_ += boost::json::serialize(value);
  }
  void Count(std::string_view key, size_t value) {
    Key(key);
    out_ += std::to_string(value);
  }
  // A nested value, after which the members of this one go on.
  void Nested(const Schema& schema, bool nullable) {
    Value(schema, nullable);
    first_ = false;
  }

  void Alternatives(const Schema& schema, bool nullable) {
    Key("anyOf");
    out_ += '[';
    for (size_t i = 0; i < schema.alternatives.size(); ++i) {
      if (i > 0) out_ += ',';
      Nested(schema.alternatives[i], false);
    }
    out_ += nullable ? R"(,{"type":"null"}])" : "]";
    first_ = false;
  }

  void Bounds(const Schema& schema, bool nullable) {
    switch (schema.type) {
      case Schema::Type::kInteger:
        Key("minimum");
        out_ += std::to_string(schema.min_integer);
        Key("maximum");
        out_ += std::to_string(schema.max_integer);
        break;
      case Schema::Type::kNumber:
        Key("minimum");
        AppendJsonNumber(out_, schema.minimum);
        Key("maximum");
        AppendJsonNumber(out_, schema.maximum);
        break;
      case Schema::Type::kBoolean:
        if (!schema.only_boolean) break;
        Key("enum");
        out_ += *schema.only_boolean ? "[true" : "[false";
        out_ += nullable ? ",null]" : "]";
        break;
      case Schema::Type::kString:
        StringBounds(schema, nullable);
        break;
      case Schema::Type::kArray:
        Key("items");
        Nested(*schema.items, false);
        if (schema.min_size > 0) Count("minItems", schema.min_size);
        Count("maxItems", schema.max_size);
        break;
      case Schema::Type::kObject:
        ObjectBounds(schema);
        break;
      default:
        break;
    }
  }

  void StringBounds(const Schema& schema, bool nullable) {
    if (schema.values.empty()) {
      if (schema.min_size > 0) Count("minLength", schema.min_size);
      if (schema.max_size > 0) Count("maxLength", schema.max_size);
      return;
    }
    Key("enum");
    out_ += '[';
    for (size_t i = 0; i < schema.values.size(); ++i) {
      if (i > 0) out_ += ',';
      AppendJsonString(out_, schema.values[i]);
    }
    out_ += nullable ? ",null]" : "]";
  }

  void ObjectBounds(const Schema& schema) {
    if (schema.additional) {
      Key("additionalProperties");
      Nested(*schema.additional, false);
      Count("maxProperties", schema.max_size);
    }
    if (schema.properties.empty()) return;
    Key("properties");
    out_ += '{';
    std::string required;
    for (size_t i = 0; i < schema.properties.size(); ++i) {
      const Property& property = schema.properties[i];
      if (i > 0) out_ += ',';
      AppendJsonString(out_, property.name);
      out_ += ':';
      Nested(property.schema, !property.required);
      if (!property.required) continue;
      required += required.empty() ? "" : ",";
      AppendJsonString(required, property.name);
    }
    out_ += '}';
    first_ = false;
    if (!required.empty()) {
      Key("required");
      out_ += "[" + required + "]";
    }
    if (!schema.needs_one_of.empty()) Needs(schema);
  }

  // "required" takes null for a value; that it counts as absent is said beside it.
  void Needs(const Schema& schema) {
    Key(schema.only_one ? "oneOf" : "anyOf");
    out_ += '[';
    for (const std::string& name : schema.needs_one_of) {
      if (name != schema.needs_one_of[0]) out_ += ',';
      const auto property = std::ranges::find(schema.properties, name, &Property::name);
      out_ += fmt::format(R"({{"required":["{}"])", name);
      if (!property->schema.nullable)
        out_ += fmt::format(R"(,"properties":{{"{}":{{"not":{{"type":"null"}}}}}})", name);
      out_ += '}';
    }
    out_ += ']';
  }

  std::string& out_;
  std::vector<const Schema*>* components_;
  bool first_ = true;
};

}  // namespace

void AppendJsonSchema(const Schema& schema, std::string& out, std::vector<const Schema*>* components) {
  Writer(out, components).Value(schema, false);
}

void AppendComponent(const Schema& schema, std::string& out, std::vector<const Schema*>* components) {
  Writer(out, components).Inline(schema, false);
}

}  // namespace ingot::server
